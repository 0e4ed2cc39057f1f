"""Reviews: questions about who may do what and who the caller is. Answered, never stored."""
