"""OTLP in, traces and logs kept, queried, shown and passed on. Wired in collector.py; knows nothing of components."""
