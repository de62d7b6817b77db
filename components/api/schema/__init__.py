"""What fields the built-in kinds have: types, list and map semantics, and the checks that follow from them.

types.py loads the table, generate.py derives it, decoding.py checks and prunes a decoded object against it.
"""
