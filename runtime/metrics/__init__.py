"""What a training says of itself, from wherever it says it, as one JSON line a step."""
