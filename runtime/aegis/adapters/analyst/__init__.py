"""Answers questions in SQL over all that is stored."""
