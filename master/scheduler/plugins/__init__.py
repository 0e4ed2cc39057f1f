"""One file a plugin: what it filters, how it scores, and which events can cure its "no"."""
