"""Values and decisions: nothing here awaits, reads a clock or touches the outside."""
