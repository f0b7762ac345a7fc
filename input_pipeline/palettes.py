"""Colours for classes that a data set names none for.

The first seven are those of Okabe and Ito, *Color Universal Design* (2008), without black. Each
further one is the colour of a grid, of some chroma and neither very dark nor very light, that is
farthest from all before it and from black, white and mid-grey: by the least CIE 1976 distance as
people see it, and as it looks with protanopia and with deuteranopia (Machado, Oliveira, Fernandes:
A Physiologically-based Model for Simulation of Color Vision Deficiency, IEEE TVCG 2009). The list
is kept, not computed, so that colours never depend on a machine; its test measures it.
"""

NO_LABEL = (128, 128, 128)  # mid-grey, which is no colour of the list

_COLOURS = (
    "e69f00 56b4e9 009e73 f0e442 0072b2 d55e00 cc79a7 0000ff 781e00 a5f096 6969ff 691e5a 3c1ea5 "
    "782d3c 4bb45a 5ae1b4 6996ff 96e1ff b4ff78 4b783c 003c87 2d3ce1 3c5ac3 b42d00 785a87 69d25a "
    "00e1d2 00d287 d22d3c 3cb4c3 00695a 96ffc3 f0963c d2783c 780f1e 3c4bd2 f00069 4b4b87 0000d2 "
    "0096d2 78b496 b4005a 4b78d2 963c1e a53ca5 87d278 e1d24b 69ffe1 b469a5 5a2dff 96a5ff 78f078 "
    "3c3ca5 6996c3 6978f0 69d2ff 0fd2b4 2d2dc3 3c5aff 873c3c b4e1a5 b4ff00 96f0f0 78c3e1 ffb400 "
    "3c9600 691e4b 4bc3c3 4b875a ff4b87 691e69 87ffd2 a52d78 690f87 e1782d 5ac35a 1e691e 87874b "
    "c3a578 b4ff5a 2d0fc3 a50f00 0096e1 78d2e1 00d296 3cb469 0f69e1 960fb4 a5ffb4 a54b78 c3d21e "
    "e13c3c 96b43c 1e8769 5a782d 96f0ff e11e96 d287a5 96f05a 3c4be1 3ca587 783c69 962dff 87f069 "
    "c39600 a5b4ff 2db4d2 3cc3b4 a5ff96 690f78 b4964b 780f2d 004b2d 002de1 b469b4 2d7896 3c4ba5 "
    "e13cd2 c300c3 a5ff87 2d692d 69e1c3 782d4b 4ba5e1 b41e4b c378ff 872d87 d2c34b d21e2d 2d69c3 "
    "00b4b4 c31e96 d2694b d20f4b 1ed2a5 c34b00 2d2d96 ffa5a5 a5e196 2d1ef0 69e15a b4ff69 2d3cc3 "
    "2d78c3 78d269 5aa596 782d2d 870f78 b44bb4 69c3d2 ff9687 b4f00f 69c369 5a78e1 87d2f0 2d3c69 "
    "2d6996 96e187 5ac3f0 00694b d21e5a b4a54b 961e78 87e1f0 1e4b96 d25a1e 4b00b4 2d3c96 ff2d78 "
    "69f0c3 78965a 690fb4 8778c3 a53c69 78f0e1 d22df0 87e178 c32d87 3cf0b4 695aa5 1e5ab4 a55aa5 "
    "d2b44b 2d5a1e a587b4 d2c33c 782d5a 960fd2 1e784b f07887 961e1e 4bd2d2 e1b4ff 874be1 3c4bb4 "
    "0000e1 e1f0a5 5aa5c3 00e1a5 3cc378 2da5a5 c32dd2 8796f0 5a78ff e1e14b 78e169 5ad2c3 690fd2 "
    "3cf0d2 ff1e87 b4782d 873cf0 5ae1e1 b46969 5aa5d2 b4b41e 96f087 1e9696 961e0f 6987b4 3c2da5 "
    "87b4e1 b40f1e 87fff0 87a5f0 2d4b00 f03c5a e1785a 2d9678 5a3c69 a5d296 785ad2 f05a96 c37878 "
    "ffa5d2 78ffff e16900 4b87e1 c32d78 87783c 96e12d 5a963c 780f3c 2d3cf0 3cf0a5 b4ff4b 8787f0 "
    "c31e2d 6969f0 5ac396 963c5a ff962d 008787 d2962d 786996 b45a69 "
)


def default(count: int) -> tuple[tuple[int, int, int], ...]:
    """RGB of the class ids 0 ... `count` − 1; from the 257th class on colours come again."""
    colours = [tuple(bytes.fromhex(colour)) for colour in _COLOURS.split()]
    return tuple(colours[index % len(colours)] for index in range(count))
