"""Example domains built on rowsmith, a tour of them on real data, and a web application over one of them."""
