"""One admission plugin a file. Which ones there are, in their order: `admission.chain`."""
