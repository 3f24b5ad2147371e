"""What groups use of processors, as a metric store knows it: a repository over something that is no SQL."""
