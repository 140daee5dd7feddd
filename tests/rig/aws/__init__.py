"""A miniature AWS: moto and ministack behind one server, with what they lack in front."""
