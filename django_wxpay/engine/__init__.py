"""How anything is asked, received, recorded, delivered and found out, whatever the product.

The engine names no product and imports no service: what it must know about a kind of row, the services declare in
`registry`. Below it are models and client, above it the subjects.
"""
