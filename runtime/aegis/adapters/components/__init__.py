"""Where components come from, and what turns a source into a revision."""
