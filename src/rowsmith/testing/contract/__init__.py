"""The contract of a repository, as tests that a team inherits; see :class:`~rowsmith.testing.RepositoryContract`."""
