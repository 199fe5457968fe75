"""Ways to pull a target towards an exemplar: one method a file, each maps captured features to a loss."""
