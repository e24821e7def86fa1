"""How any call arrives, is checked, suffers and is answered, and how the shop is told, whatever it is about.

Imports none of the subjects (contracts, orders, refunds …): they stand beside this folder, under the names that they
have in the rest of the house, and `django_wxpay.sandbox.emulator` puts them together.
"""
