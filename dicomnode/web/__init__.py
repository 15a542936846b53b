"""Pages, REST API and DICOMweb of the node, in a process of their own.

`app.create_app` puts it together; `visitors.require` says who may come in; a page is a module of
`pages` with a line in `pages.PAGES`, an interface for programs is a router in `app.ROUTERS`.
"""
