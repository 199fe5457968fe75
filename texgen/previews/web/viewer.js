// Shows a material on a shape that can be turned. Reads the JSON in #material; three.js is the global THREE.
"use strict";

const material = JSON.parse(document.getElementById("material").textContent);
const form = document.getElementById("controls");
const canvas = document.getElementById("view");

const SLOTS = {
  color: "map",
  normal: "normalMap",
  roughness: "roughnessMap",
  metalness: "metalnessMap",
  ao: "aoMap",
  height: "displacementMap",
  opacity: "alphaMap",
  emission: "emissiveMap",
};
const EYES = { sphere: [0, 0, 4.6], plane: [0, 1.15, 1.9], box: [2.4, 1.7, 3.7] };

// State: the controls, with what stands after # in the address, such as #shape=plane&repeats=4.
const asked = new URLSearchParams(location.hash.slice(1));
const state = { shape: "sphere", repeats: 1, light: material.light, rise: material.rise, depth: 1 };
for (const name of Object.keys(state)) {
  if (asked.has(name)) state[name] = name === "shape" ? asked.get(name) : Number(asked.get(name));
}
if (!(state.shape in EYES)) state.shape = "sphere";
const shown = Object.fromEntries(Object.keys(material.maps).map((name) => [name, asked.get(name) !== "off"]));

let renderer;
try {
  renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true });
} catch (error) {
  document.getElementById("problem").style.display = "grid";
  throw error;
}
renderer.toneMapping = THREE.NeutralToneMapping;
renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));

const scene = new THREE.Scene();
const camera = new THREE.PerspectiveCamera(30, 1, 0.1, 50);
const orbit = new THREE.OrbitControls(camera, canvas);
orbit.minDistance = 1.2;
orbit.maxDistance = 12;
orbit.enablePan = false;
const lights = material.lights.map(({ colour }) => {
  const light = new THREE.DirectionalLight(new THREE.Color(...colour), Math.PI);
  scene.add(light);
  return light;
});
scene.environment = surroundings();

const textures = {};
const surface = new THREE.MeshStandardMaterial({ side: THREE.DoubleSide });
const mesh = new THREE.Mesh(undefined, surface);
scene.add(mesh);

function surroundings() {
  const vector = (colour) => `vec3(${colour.map((each) => each.toFixed(4)).join(", ")})`;
  const sky = new THREE.ShaderMaterial({
    side: THREE.BackSide,
    vertexShader: `varying vec3 way; void main() { way = position; gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0); }`,
    fragmentShader: `varying vec3 way;
      void main() {
        float rise = normalize(way).y;
        vec3 over = mix(${vector(material.sky.horizon)}, ${vector(material.sky.zenith)}, smoothstep(0.0, 1.0, max(rise, 0.0)));
        gl_FragColor = vec4(mix(${vector(material.sky.ground)}, over, smoothstep(-0.08, 0.08, rise)), 1.0);
      }`,
  });
  const dome = new THREE.Scene();
  dome.add(new THREE.Mesh(new THREE.SphereGeometry(10, 48, 32), sky));
  const generator = new THREE.PMREMGenerator(renderer);
  const found = generator.fromScene(dome, 0, 0.1, 20).texture;
  generator.dispose();
  return found;
}

function geometry() {
  const fine = textures.height !== undefined;
  if (state.shape === "plane") return new THREE.PlaneGeometry(2, 2, ...(fine ? [384, 384] : [1, 1])).rotateX(-Math.PI / 2);
  if (state.shape === "box") return new THREE.BoxGeometry(1.4, 1.4, 1.4);
  return new THREE.SphereGeometry(1, ...(fine ? [512, 256] : [128, 64]));
}

// Repeats to the right and upwards, and the width of one of them.
function repeats() {
  if (state.shape === "sphere") return [2 * state.repeats, state.repeats * material.aspect, Math.PI / state.repeats];
  return [state.repeats, state.repeats * material.aspect, (state.shape === "plane" ? 2 : 1.4) / state.repeats];
}

function setShape() {
  mesh.geometry?.dispose();
  mesh.geometry = geometry();
  camera.position.set(...EYES[state.shape]);
  orbit.target.set(0, state.shape === "plane" ? -0.12 : 0, 0);
  orbit.update();
}

function setMaps() {
  const [across, upwards, width] = repeats();
  for (const [name, texture] of Object.entries(textures)) {
    texture.repeat.set(across, upwards);
    const raised = name !== "height" || state.shape !== "box"; // faces of a box would come apart
    surface[SLOTS[name]] = shown[name] && raised ? texture : null;
  }
  const has = (name) => Boolean(surface[SLOTS[name]]);
  if (has("color")) surface.color.set(1, 1, 1);
  else surface.color.setRGB(...material.missing.color);
  surface.roughness = has("roughness") ? 1 : material.missing.roughness[0];
  surface.metalness = has("metalness") ? 1 : material.missing.metalness[0];
  surface.emissive.set(has("emission") ? 0xffffff : 0x000000);
  surface.transparent = has("opacity");
  surface.alphaTest = has("opacity") ? 0.02 : 0;
  surface.displacementScale = state.depth * material.depth * width;
  surface.displacementBias = -surface.displacementScale;
  document.body.classList.toggle("transparent", has("opacity"));
  surface.needsUpdate = true;
}

// Angles are seen on the texture: counterclockwise from its right, and upwards from it.
function setLights() {
  material.lights.forEach(({ turn, rise }, number) => {
    const a = ((state.light + turn) * Math.PI) / 180;
    const r = ((number ? rise : state.rise) * Math.PI) / 180;
    const [right, up, out] = [Math.cos(a) * Math.cos(r), Math.sin(a) * Math.cos(r), Math.sin(r)];
    lights[number].position.set(...(state.shape === "plane" ? [right, out, -up] : [right, up, out]));
  });
}

let waiting = false;
function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    renderer.render(scene, camera);
  });
}

function resize() {
  const { clientWidth: width, clientHeight: height } = document.documentElement;
  renderer.setSize(width, height, false);
  camera.aspect = width / height;
  camera.fov = camera.aspect < 1 ? 30 / camera.aspect : 30;
  camera.updateProjectionMatrix();
  draw();
}

function refresh(what) {
  if (what === "shape") setShape();
  setMaps();
  setLights();
  for (const label of form.querySelectorAll("label.range")) {
    const { name, value } = label.querySelector("input");
    label.querySelector("output").value = { light: `${value}°`, rise: `${value}°`, depth: `${value}×` }[name] ?? value;
  }
  draw();
}

function prepareControls() {
  document.getElementById("name").textContent = material.name;
  document.getElementById("about").textContent = material.about;
  document.getElementById("relief").hidden = !("height" in material.maps);
  for (const name of Object.keys(state)) form.elements[name].value = state[name];
  for (const name of Object.keys(material.maps)) {
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", name: `map-${name}`, checked: shown[name] });
    label.append(box, name);
    document.getElementById("maps").append(label);
  }
  form.addEventListener("input", ({ target }) => {
    if (target.name.startsWith("map-")) shown[target.name.slice(4)] = target.checked;
    else state[target.name] = target.name === "shape" ? target.value : Number(target.value);
    refresh(target.name);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
}

async function start() {
  prepareControls();
  const loader = new THREE.TextureLoader();
  const names = Object.keys(material.maps);
  const loaded = await Promise.all(names.map((name) => loader.loadAsync(material.maps[name])));
  loaded.forEach((texture, number) => {
    texture.wrapS = texture.wrapT = THREE.RepeatWrapping;
    texture.anisotropy = renderer.capabilities.getMaxAnisotropy();
    texture.colorSpace = ["color", "emission"].includes(names[number]) ? THREE.SRGBColorSpace : THREE.NoColorSpace;
    textures[names[number]] = texture;
  });
  setShape();
  refresh();
  orbit.addEventListener("change", draw);
  window.addEventListener("resize", resize);
  resize();
  document.body.dataset.ready = "true";
}

start();
