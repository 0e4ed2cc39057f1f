"""`make bundle`: one file with all that a machine needs which reaches no index.

`contents` decides what is in it and how apt is asked; `__main__` asks pip and apt, and packs. What
a machine does with a bundle is deploy/install's: nothing of this is in the wheel.
"""
