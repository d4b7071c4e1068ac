"""What touches the outside, one folder per protocol; the folders never import each other."""
