"""Who may ask, and for what: origins, hosts, paths."""
