"""Studies: profiles, shipped results, and one module for each study."""
