# Makes ROS 2, this package and its `perception` command available: `. ./env.sh` in sh, bash or zsh, from any folder.
#
# A ROS 2 distribution that is sourced already is used; else the virtual environment `.venv` that `make build` fills.
# The overlay `install/` comes on top where it is built. Prints nothing; sourcing it again changes nothing.

# This file's own folder. POSIX sh does not tell a sourced file its name: ask the kernel which file the shell is reading.
_pn_file=
if [ -n "${BASH_VERSION:-}" ]; then
  _pn_file="${BASH_SOURCE:-}"
elif [ -n "${ZSH_VERSION:-}" ]; then
  eval '_pn_file="${(%):-%x}"'
elif [ -r /proc/self/stat ]; then
  read -r _pn_pid _pn_rest < /proc/self/stat
  for _pn_fd in "/proc/$_pn_pid/fd"/*; do
    case "$(readlink "$_pn_fd" 2>/dev/null)" in */env.sh) _pn_file="$(readlink "$_pn_fd")" ;; esac
  done
fi
_pn_root="$(cd "$(dirname "${_pn_file:-./env.sh}")" && pwd -P)"

_pn_prepend() {  # variable, folder: puts the folder first unless it is there already
  [ -d "$2" ] || return 0
  eval "_pn_value=\"\${$1:-}\""
  case ":$_pn_value:" in
    *":$2:"*) ;;
    *) eval "export $1=\"\$2\${_pn_value:+:\$_pn_value}\"" ;;
  esac
}

# Tabs and spaces in paths are fine, but colcon's own scripts trip over `set -u`: switch it off meanwhile.
case $- in *u*) _pn_nounset=1; set +u ;; *) _pn_nounset= ;; esac

_pn_venv="$_pn_root/.venv"
if [ -n "$ROS_DISTRO" ]; then
  # What the distribution lacks lies in .venv: behind the distribution's own, for whatever interpreter runs the nodes.
  case ":$PATH:" in *":$_pn_venv/bin:"*) ;; *) [ -d "$_pn_venv/bin" ] && PATH="$PATH:$_pn_venv/bin" ;; esac
  for _pn_dir in "$_pn_venv"/lib/python3*/site-packages; do
    case ":$PYTHONPATH:" in
      *":$_pn_dir:"*) ;;
      *) [ -d "$_pn_dir" ] && export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$_pn_dir" ;;
    esac
  done
elif [ -d "$_pn_venv" ]; then
  export VIRTUAL_ENV="$_pn_venv"
  _pn_prepend PATH "$_pn_venv/bin"
  _pn_prepend AMENT_PREFIX_PATH "$_pn_venv"
  _pn_prepend CMAKE_PREFIX_PATH "$_pn_venv"
  for _pn_dir in "$_pn_venv"/lib/python3*/site-packages/ros_*.libs "$_pn_venv/lib"; do
    _pn_prepend LD_LIBRARY_PATH "$_pn_dir"
  done
  # Without this mark the ROS wheels start every Python program twice to set LD_LIBRARY_PATH.
  export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
fi

for _pn_name in perception_node_msgs perception_node; do
  COLCON_CURRENT_PREFIX="$_pn_root/install/$_pn_name"
  if [ -f "$COLCON_CURRENT_PREFIX/share/$_pn_name/package.sh" ]; then
    . "$COLCON_CURRENT_PREFIX/share/$_pn_name/package.sh"
    _pn_prepend PATH "$_pn_root/install/$_pn_name/lib/$_pn_name"
  fi
done
unset COLCON_CURRENT_PREFIX

export RMW_IMPLEMENTATION="${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp}"
# Fast DDS's default transports lose large images between the processes of one machine; those of these profiles carry them.
if [ -z "${FASTDDS_DEFAULT_PROFILES_FILE:-}${FASTRTPS_DEFAULT_PROFILES_FILE:-}${FASTDDS_BUILTIN_TRANSPORTS:-}" ]; then
  export FASTDDS_DEFAULT_PROFILES_FILE="$_pn_root/perception_node/data/transport.xml"
fi

[ -z "$_pn_nounset" ] || set -u
unset _pn_file _pn_pid _pn_rest _pn_fd _pn_root _pn_value _pn_nounset _pn_venv _pn_dir _pn_name
unset -f _pn_prepend
