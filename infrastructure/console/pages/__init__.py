"""The routes of the console: a module a page."""
