"""A client of the Open Science Framework, which is also called osf."""
