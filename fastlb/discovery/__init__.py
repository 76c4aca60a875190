"""Which servers a backend has that its configuration does not list: those that names stand for."""
