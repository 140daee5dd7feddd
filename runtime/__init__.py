"""What runs on a node, and what both sides share. Standard library only."""
