// @ts-check
// The particle in three dimensions, loaded when somebody is about to turn it.

import { showParticle } from "../view/particle-3d.js";

globalThis.nanoshapeCode("particle-3d", showParticle);
