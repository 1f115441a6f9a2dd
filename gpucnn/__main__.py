"""`python -m gpucnn`"""

from .cli import main

main()
