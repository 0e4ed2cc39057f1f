"""What every namespace has, and how one ends."""
