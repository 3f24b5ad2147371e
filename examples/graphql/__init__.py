"""A GraphQL schema over the example groups: the search that ``examples.api`` serves, from the same classes."""
