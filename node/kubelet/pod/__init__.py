"""What to do next for a pod, and what to say of it. Pure: no clock, no IO."""
