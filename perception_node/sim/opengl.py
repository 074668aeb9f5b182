"""Pictures of the same kind of piles by another engine: MuJoCo's OpenGL renderer, other textures, other lamps.

Training data come from `render`; a model is selected on pictures that were made differently, so that it is not
rewarded for learning the habits of one renderer. Slower than `render` and plainer, which is fine for a few hundred.
"""

from __future__ import annotations

import cv2
import numpy as np

from perception_node.errors import MissingDependencyError
from perception_node.sim import goods, prints, render, sensor, shapes, surfaces
from perception_node.sim.dataset import Sample
from perception_node.sim.environment import random_view
from perception_node.sim.meshes import Array, Mesh, cross, join
from perception_node.sim.needs import mujoco
from perception_node.sim.packages import BAG, BOX, ITEM, PackageSpec
from perception_node.sim.sample import Picture, labels_and_truth, meta_of
from perception_node.sim.scenarios import Pile, random_pile


def _numbers(values: Array) -> str:
    return " ".join(f"{v:.5f}" for v in np.asarray(values, np.float64).ravel())


def _skin(rng: np.random.Generator, spec: PackageSpec) -> tuple[bytes, str]:
    """A square picture for all faces (PNG) and the attributes of its material."""
    side = 160
    if spec.class_id == BAG:
        base = np.array([rng.uniform(20, 240)] * 3) if rng.random() < 0.6 else prints.colour(rng).astype(np.float64)
        clear = rng.uniform(0.55, 1)
        shine = f"specular='{rng.uniform(0.6, 1):.2f}' shininess='{rng.uniform(0.5, 1):.2f}' rgba='1 1 1 {clear:.2f}'"
    else:
        base = rng.uniform(90, 240) * np.array([1.0, rng.uniform(0.7, 0.98), rng.uniform(0.45, 0.95)])
        shine = f"specular='{rng.uniform(0, 0.4):.2f}' shininess='{rng.uniform(0, 0.4):.2f}'"
    blotch = cv2.resize(rng.normal(0, 1, (9, 9)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    image = np.clip(base * (1 + 0.05 * blotch[..., None]) + rng.normal(0, 3, (side, side, 3)), 0, 255).astype(np.uint8)
    if spec.class_id == BOX and rng.random() < 0.7:
        band = prints.tape_strip(rng, side, 26)[0]
        image[67:93] = (image[67:93] * 0.4 + band * 0.6).astype(np.uint8)
    if rng.random() < 0.7:
        sticker = prints.label(rng, int(rng.integers(40, 90)), int(rng.integers(40, 90)))
        y, x = int(rng.integers(4, side - sticker.shape[0])), int(rng.integers(4, side - sticker.shape[1]))
        image[y : y + sticker.shape[0], x : x + sticker.shape[1]] = sticker
    return bytes(cv2.imencode(".png", image[..., ::-1])[1]), shine


def _package_mesh(rng: np.random.Generator, spec: PackageSpec) -> Mesh:
    size = np.array(spec.size_m)
    if spec.class_id == ITEM:
        return join([mesh for mesh, _ in goods.make(spec.form, spec.look_seed).pieces])
    if spec.class_id == BOX:
        return shapes.block_mesh(size)
    rough = 0.08 if spec.class_id == BAG else 0.01
    return shapes.pillow_mesh(rng, size, 0.008, 0.0015, rough, 0.5, (11, 13))


def _surroundings(rng: np.random.Generator, pile: Pile) -> list[str]:
    """Ground, belt, rails, walls and some plain bodies beside them."""
    layout = pile.layout

    def block(x: float, y: float, z: float, hx: float, hy: float, hz: float) -> str:
        colour = rng.uniform(0.05, 0.9, 3) if rng.random() < 0.5 else np.full(3, rng.uniform(0.1, 0.8))
        return (
            f"<geom type='box' pos='{x:.4f} {y:.4f} {z:.4f}' size='{hx:.4f} {hy:.4f} {hz:.4f}' "
            f"rgba='{_numbers(colour)} 1'/>"
        )

    drop = max(layout.drop_m, 0.002)
    parts = [f"<geom type='plane' size='9 9 1' pos='0 0 {-drop:.4f}' material='floor'/>"]
    hx, hy = min(layout.half_x_m, 3.0), min(layout.half_y_m, 3.0)
    parts.append(f"<geom type='box' pos='0 0 -0.0011' size='{hx:.4f} {hy:.4f} 0.001' material='belt'/>")
    if layout.kind != "floor":
        wall = max(layout.wall_m, 0.01)
        for side in (-1, 1):
            parts.append(block(0, side * (hy + 0.03), wall / 2 - 0.03, hx, 0.025, wall / 2 + 0.03))
            if layout.kind == "tote":
                parts.append(block(side * (hx + 0.01), 0, wall / 2, 0.01, hy, wall / 2))
        for _ in range(int(rng.integers(0, 5))):  # housings: larger than goods, as `goods` says
            h = rng.uniform(0.16, 0.35, 3)
            y = float(rng.choice([-1, 1])) * (hy + 0.1 + h[1] + rng.uniform(0, 0.4))
            parts.append(block(float(rng.uniform(-1, 1)), float(y), float(h[2]) - drop, *(float(v) for v in h)))
    for n in range(int(rng.integers(2, 8)) if pile.kind == "empty" else int(rng.random() < 0.2)):  # patches, tiles, paper
        x, y = rng.uniform(-0.6, 0.6) * min(hx, 1.0), rng.uniform(-0.6, 0.6) * min(hy, 1.0)
        a, b = rng.uniform(0.02, 0.15, 2)
        parts.append(block(float(x), float(y), 0.0002 + 0.0001 * n, float(a), float(b), 0.0002))
    return parts


def _good_geoms(n: int, spec: PackageSpec, place: str, files: dict[str, bytes]) -> tuple[list[str], list[str]]:
    """Assets and geoms of a good, one for each piece; its textures go into `files`."""
    assets, geoms = [], []
    for k, (mesh, look) in enumerate(goods.make(spec.form, spec.look_seed).pieces):
        name, m = f"g{n + 1}_{k}", look.material
        picture = cv2.resize(np.ascontiguousarray(look.textures[0][..., 2::-1]), (64, 64), interpolation=cv2.INTER_AREA)
        files[f"{name}.png"] = bytes(cv2.imencode(".png", picture)[1])
        corners = mesh.vertices[mesh.triangles]
        ahead = cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        inward = (ahead * mesh.normals[mesh.triangles].sum(1)).sum(1) < 0  # OpenGL draws one side only
        faces = np.where(inward[:, None], mesh.triangles[:, ::-1], mesh.triangles)
        shine = f"specular='{min(1.0, m.specular):.2f}' shininess='{min(1.0, m.shininess / 128):.2f}' rgba='1 1 1 {m.opacity:.2f}'"
        assets.append(
            f"<texture name='{name}' type='2d' file='{name}.png'/><material name='{name}' texture='{name}' {shine}/>"
            f"<mesh name='{name}' inertia='shell' vertex='{_numbers(mesh.vertices)}' texcoord='{_numbers(mesh.uv)}' "
            f"face='{' '.join(str(v) for v in faces.ravel())}'/>"
        )
        geoms.append(f"<geom name='p{n + 1}_{k}' type='mesh' mesh='{name}' material='{name}' contype='0' conaffinity='0' {place}/>")
    return assets, geoms


def _scene(rng: np.random.Generator, pile: Pile, meshes: list[Mesh], view: render.View) -> tuple[str, dict[str, bytes]]:
    """MJCF text and its files."""
    assets, geoms = [], []
    files: dict[str, bytes] = {}
    skins: dict[int, int] = {}
    for n, (spec, mesh) in enumerate(zip(pile.specs, meshes, strict=True)):
        quaternion = np.zeros(4)
        mujoco.mju_mat2Quat(quaternion, pile.rotations[n].ravel())
        place = f"pos='{_numbers(pile.positions_m[n])}' quat='{_numbers(quaternion)}'"
        if spec.class_id == ITEM:
            more_assets, more_geoms = _good_geoms(n, spec, place, files)
            assets += more_assets
            geoms += more_geoms
            continue
        if spec.look_seed not in skins:
            skins[spec.look_seed] = len(skins)
            data, shine = _skin(np.random.default_rng(spec.look_seed + 1), spec)
            m = skins[spec.look_seed]
            files[f"s{m}.png"] = data
            kind = "cube" if spec.class_id == BOX else "2d"
            assets.append(f"<texture name='s{m}' type='{kind}' file='s{m}.png'/><material name='s{m}' texture='s{m}' {shine}/>")
        skin = skins[spec.look_seed]
        place = f"name='p{n + 1}' {place} material='s{skin}'"
        if spec.class_id == BOX:
            geoms.append(f"<geom type='box' size='{_numbers(np.array(spec.size_m) / 2)}' {place}/>")
        else:
            faces = " ".join(str(v) for v in mesh.triangles.ravel())
            assets.append(
                f"<mesh name='m{n + 1}' inertia='shell' vertex='{_numbers(mesh.vertices)}' texcoord='{_numbers(mesh.uv)}' "
                f"face='{faces}'/>"
            )
            geoms.append(f"<geom type='mesh' mesh='m{n + 1}' {place}/>")
    for name, look in (("floor", surfaces.floor_look(rng)[0]), ("belt", surfaces.belt_look(rng)[0])):
        picture = cv2.GaussianBlur(np.ascontiguousarray(look.textures[0][..., 2::-1]), (0, 0), 1.5)
        files[f"{name}.png"] = bytes(cv2.imencode(".png", picture)[1])
        assets.append(
            f"<texture name='{name}' type='2d' file='{name}.png'/><material name='{name}' texture='{name}' "
            f"texrepeat='2 2' texuniform='true' reflectance='{rng.choice([0.0, rng.uniform(0, 0.15)]):.2f}'/>"
        )
    lamps = []
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.uniform(-1.5, 1.5, 2)
        bright = rng.uniform(0.2, 0.7)
        lamps.append(
            f"<light pos='{x:.3f} {y:.3f} {rng.uniform(1.5, 3):.3f}' dir='{-x:.3f} {-y:.3f} -2' type='directional' "
            f"castshadow='true' diffuse='{bright:.2f} {bright:.2f} {bright:.2f}' specular='.4 .4 .4'/>"
        )
    pose = view.camera_to_world
    fovy = np.degrees(2 * np.arctan(view.height / 2 / view.intrinsics[1]))
    camera = (
        f"<camera name='c' pos='{_numbers(pose[:3, 3])}' xyaxes='{_numbers(np.concatenate([pose[:3, 0], -pose[:3, 1]]))}' "
        f"fovy='{fovy:.6f}'/>"
    )
    text = (
        f"<mujoco><visual><global offwidth='{view.width}' offheight='{view.height}'/><map znear='0.02' zfar='40'/>"
        f"<quality shadowsize='2048'/><headlight ambient='.3 .3 .3' diffuse='{rng.uniform(0, 0.4):.2f} .2 .2'/></visual>"
        f"<statistic extent='1'/><asset>{''.join(assets)}</asset><worldbody>{''.join(lamps)}{camera}"
        f"{''.join(_surroundings(rng, pile))}{''.join(geoms)}</worldbody></mujoco>"
    )
    return text, files


def _draw(text: str, files: dict[str, bytes], view: render.View) -> tuple[Array, Array, Array]:
    """(H, W, 3) uint8 colour, (H, W) float32 depth in metres, (H, W) int32 package ids."""
    model = mujoco.MjModel.from_xml_string(text, files)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    try:
        renderer = mujoco.Renderer(model, view.height, view.width)
    except Exception as error:
        raise MissingDependencyError(f"style opengl needs a working EGL or OSMesa library: {error}") from error
    with renderer:
        renderer.update_scene(data, "c")
        colour = renderer.render().copy()
        renderer.enable_depth_rendering()
        depth = renderer.render().copy()
        renderer.disable_depth_rendering()
        renderer.enable_segmentation_rendering()
        segments = renderer.render()
    names = [model.geom(n).name for n in range(model.ngeom)]
    table = np.array([0, *(int(name[1:].split("_")[0]) if name.startswith("p") else 0 for name in names)], np.int32)
    is_geom = segments[..., 1] == int(mujoco.mjtObj.mjOBJ_GEOM)
    ids = table[np.where(is_geom, segments[..., 0], -1) + 1]
    return colour, np.where(depth < 39, depth, 0).astype(np.float32), ids


def opengl_samples(seed: int, group: int, numbers: list[int], picture: Picture) -> list[Sample]:
    """Like `sample.pile_samples`, drawn by the other engine.

    Raises:
        MissingDependencyError: when there is no OpenGL for off-screen pictures.
    """
    pile = random_pile(np.random.default_rng([seed, group, 21]), style="validation", content=picture.content)
    samples = []
    for number in numbers:
        rng = np.random.default_rng([seed, number, 22])
        view = random_view(rng, pile.positions_m, pile.layout, picture.width, picture.height)
        focal = view.intrinsics[1]
        middle = np.array([focal, focal, (picture.width - 1) / 2, (picture.height - 1) / 2])
        view = render.View(middle, picture.width, picture.height, view.camera_to_world)
        meshes = [_package_mesh(np.random.default_rng(spec.shape_seed), spec) for spec in pile.specs]
        text, files = _scene(rng, pile, meshes, view)
        colour, depth, ids = _draw(text, files, view)
        plain = surfaces.plain_look(np.full(3, 128.0))
        items = [
            render.Item(mesh.moved(pile.rotations[n], pile.positions_m[n]), plain, n + 1) for n, mesh in enumerate(meshes)
        ]
        counts = render.alone_counts(render.pack(items), view) if items else np.zeros((1, 2), np.int64)
        film = [0.8 if spec.class_id == BAG else 0.3 if spec.form == "bottle" else 0.05 for spec in pile.specs]
        is_film = np.array([0.0, *film], np.float32)
        linear = ((colour.astype(np.float32) / 255.0) ** 2.2).astype(np.float32)
        rgb = sensor.colour_picture(linear, sensor.random_colour_sensor(rng), rng)
        drawn = render.Rendering(linear, depth, ids, is_film[ids], counts)
        labels, records = labels_and_truth(drawn, pile.specs, pile.positions_m, pile.rotations, view)
        measured = sensor.depth_picture(depth, drawn.holes, sensor.random_depth_sensor(rng), rng, sensor.brightest(rgb))
        extra = {"seed": seed, "pile": group, "scenario": pile.kind, "layout": pile.layout.kind}
        samples.append(Sample(rgb, measured, depth, labels, meta_of(number, view, records, extra)))
    return samples
