"""Random examples are the same in every run: a run is red because of its change, or not at all.

`tests/run full` looks for new ones (`--hypothesis-profile=long`); what it finds becomes a test.
"""

from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None, print_blob=True)
settings.register_profile(
    "long", derandomize=False, deadline=None, print_blob=True, max_examples=5000
)
settings.load_profile("fixed")
