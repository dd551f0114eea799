"""The book: notebooks executed by papermill, pages rendered by Sphinx, and what the pages load."""
