"""How Wherry comes onto machines: `deploy/local` makes some, `deploy/install` takes real ones."""
