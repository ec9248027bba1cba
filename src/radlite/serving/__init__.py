"""Reports as they come in a hospital: whole tables of them."""
