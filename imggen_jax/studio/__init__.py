"""The studio: pages in a browser, on one's own machine, for all that the command line does with pictures.

    imggen studio

Each page composes a command of this package, shows it, and has a process beside the studio run it (`worker`), which can
be stopped at any time. So a page does what the command line does, by the same code. `home` is the studio's folder,
`index` the list of its pictures, `jobs` what is being made, `web` the server; `app` puts the pages together.
"""
