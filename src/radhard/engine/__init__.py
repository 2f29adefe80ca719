"""Running a network under corruption: golden trace, resume, guards."""
