"""A support desk with agents: thirteen small repositories on one base, each special method in a line or two."""
