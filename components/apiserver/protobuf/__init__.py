"""Protobuf bodies of typed Go clients, read into the same objects that JSON bodies give."""
