"""All tests of Wherry. tests/run starts them; each folder says what its tests may need."""
