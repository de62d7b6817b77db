"""The process that outlives the kubelet: one per pod sandbox, parent of its containers. Stdlib only; starts fast."""
