"""The parts of a cluster. Siblings never import each other: they meet over the wire."""
