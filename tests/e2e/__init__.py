"""A whole cluster of machines made from namespaces, driven with the real kubectl."""
