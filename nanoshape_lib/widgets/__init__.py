"""Widgets for JupyterLab and Voilà."""
