"""Control groups of a node: those of its Pods and what is above them. Containers' own are made by the runtime."""
