"""Pages for eyes: what is in the ledger, with its pictures. They only read, and need no script to work.

`pictures` decides what may be seen and fetches it, `templating` writes HTML in which all that comes from outside is
text, `queries` reads addresses, `pages` has a function for each page, `app` puts them behind the front door.
"""
