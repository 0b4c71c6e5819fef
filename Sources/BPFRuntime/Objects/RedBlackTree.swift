import CBPFRuntime

/// The search trees of programs: red-black trees of nodes that programs own. Programs see their shape.
///
///     bpf_rb_root   | root | leftmost |
///     bpf_rb_node   | parent + color | right | left | owner |     bit 0 of the first word: black
///
/// The program holds the root's lock.
enum RedBlackTree {
  private static let rightOffset = 8
  private static let leftOffset = 16
  private static let ownerOffset = 24

  @inline(__always)
  private static func word(_ at: UInt64, _ offset: Int) -> UInt64 {
    memory(at).load(fromByteOffset: offset, as: UInt64.self)
  }
  @inline(__always)
  private static func set(_ at: UInt64, _ offset: Int, _ value: UInt64) {
    memory(at).storeBytes(of: value, toByteOffset: offset, as: UInt64.self)
  }

  @inline(__always)
  private static func parent(_ node: UInt64) -> UInt64 { word(node, 0) & ~3 }
  @inline(__always)
  private static func isBlack(_ node: UInt64) -> Bool { node == 0 || word(node, 0) & 1 != 0 }
  @inline(__always)
  private static func setParent(_ node: UInt64, _ parent: UInt64) { set(node, 0, parent | (word(node, 0) & 1)) }
  @inline(__always)
  private static func setBlack(_ node: UInt64, _ black: Bool) {
    set(node, 0, (word(node, 0) & ~1) | (black ? 1 : 0))
  }
  @inline(__always)
  static func left(_ node: UInt64) -> UInt64 { word(node, leftOffset) }
  @inline(__always)
  static func right(_ node: UInt64) -> UInt64 { word(node, rightOffset) }
  @inline(__always)
  static func root(_ tree: UInt64) -> UInt64 { word(tree, 0) }
  @inline(__always)
  static func first(_ tree: UInt64) -> UInt64 { word(tree, 8) }
  /// The tree that a node is in.
  @inline(__always)
  static func owner(_ node: UInt64) -> UInt64 { skep_load_relaxed_64(memory(node) + ownerOffset) }

  /// False where the node is in a tree already. `isLess` says whether the new node comes before another.
  static func insert(_ tree: UInt64, _ node: UInt64, isLess: (UInt64) -> Bool) -> Bool {
    let owner = memory(node) + ownerOffset
    guard skep_compare_exchange_64(owner, 0, LinkedList.linking) == 0 else { return false }
    var above: UInt64 = 0
    var place = tree
    var offset = 0
    var isFirst = true
    while word(place, offset) != 0 {
      above = word(place, offset)
      place = above
      if isLess(above) {
        offset = leftOffset
      } else {
        offset = rightOffset
        isFirst = false
      }
    }
    set(node, 0, above)
    set(node, leftOffset, 0)
    set(node, rightOffset, 0)
    set(place, offset, node)
    if isFirst { set(tree, 8, node) }
    balance(tree, after: node)
    skep_store_relaxed_64(owner, tree)
    return true
  }

  /// False where the node is not in this tree.
  static func remove(_ tree: UInt64, _ node: UInt64) -> Bool {
    guard owner(node) == tree else { return false }
    if first(tree) == node { set(tree, 8, successor(node)) }
    unlink(tree, node)
    set(node, 0, node)
    skep_store_relaxed_64(memory(node) + ownerOffset, 0)
    return true
  }

  /// Empties the tree and gives each of its nodes, children before their parents.
  static func drain(_ tree: UInt64, _ body: (UInt64) -> Void) {
    var node = root(tree)
    set(tree, 0, 0)
    set(tree, 8, 0)
    while node != 0 {
      if left(node) != 0 {
        node = left(node)
      } else if right(node) != 0 {
        node = right(node)
      } else {
        let above = parent(node)
        if above != 0 { set(above, left(above) == node ? leftOffset : rightOffset, 0) }
        set(node, 0, node)
        skep_store_relaxed_64(memory(node) + ownerOffset, 0)
        body(node)
        node = above
      }
    }
  }

  private static func successor(_ node: UInt64) -> UInt64 {
    if right(node) != 0 {
      var at = right(node)
      while left(at) != 0 { at = left(at) }
      return at
    }
    var at = node
    var above = parent(at)
    while above != 0 && right(above) == at {
      at = above
      above = parent(at)
    }
    return above
  }

  /// Puts `new` where `old` hangs from its parent.
  private static func replace(_ tree: UInt64, _ old: UInt64, with new: UInt64) {
    let above = parent(old)
    if above == 0 {
      set(tree, 0, new)
    } else {
      set(above, left(above) == old ? leftOffset : rightOffset, new)
    }
    if new != 0 { setParent(new, above) }
  }

  /// The child on the other side of `side` comes up; `node` goes down to `side`.
  private static func rotate(_ tree: UInt64, _ node: UInt64, to side: Int) {
    let other = side == leftOffset ? rightOffset : leftOffset
    let child = word(node, other)
    let inner = word(child, side)
    set(node, other, inner)
    if inner != 0 { setParent(inner, node) }
    replace(tree, node, with: child)
    set(child, side, node)
    setParent(node, child)
  }

  private static func balance(_ tree: UInt64, after inserted: UInt64) {
    var node = inserted
    while true {
      let above = parent(node)
      guard above != 0, !isBlack(above) else { break }
      let grand = parent(above)
      let side = left(grand) == above ? leftOffset : rightOffset
      let other = side == leftOffset ? rightOffset : leftOffset
      let uncle = word(grand, other)
      if !isBlack(uncle) {
        setBlack(above, true)
        setBlack(uncle, true)
        setBlack(grand, false)
        node = grand
        continue
      }
      if word(above, other) == node {
        rotate(tree, above, to: side)
        setBlack(node, true)
      } else {
        setBlack(above, true)
      }
      setBlack(grand, false)
      rotate(tree, grand, to: other)
      break
    }
    setBlack(root(tree), true)
  }

  private static func unlink(_ tree: UInt64, _ node: UInt64) {
    var moved: UInt64
    var above: UInt64
    let wasBlack: Bool
    if left(node) == 0 || right(node) == 0 {
      moved = left(node) == 0 ? right(node) : left(node)
      above = parent(node)
      wasBlack = isBlack(node)
      replace(tree, node, with: moved)
    } else {
      let heir = successor(node)
      moved = right(heir)
      wasBlack = isBlack(heir)
      if parent(heir) == node {
        above = heir
      } else {
        above = parent(heir)
        replace(tree, heir, with: moved)
        set(heir, rightOffset, right(node))
        setParent(right(heir), heir)
      }
      replace(tree, node, with: heir)
      set(heir, leftOffset, left(node))
      setParent(left(heir), heir)
      setBlack(heir, isBlack(node))
    }
    if wasBlack { restore(tree, &moved, &above) }
  }

  /// The paths through `node`, which may be empty, lack one black node.
  private static func restore(_ tree: UInt64, _ node: inout UInt64, _ above: inout UInt64) {
    while above != 0 && isBlack(node) {
      let side = left(above) == node ? leftOffset : rightOffset
      let other = side == leftOffset ? rightOffset : leftOffset
      var sibling = word(above, other)
      if !isBlack(sibling) {
        setBlack(sibling, true)
        setBlack(above, false)
        rotate(tree, above, to: side)
        sibling = word(above, other)
      }
      if isBlack(left(sibling)) && isBlack(right(sibling)) {
        setBlack(sibling, false)
        node = above
        above = parent(node)
        continue
      }
      if isBlack(word(sibling, other)) {
        setBlack(word(sibling, side), true)
        setBlack(sibling, false)
        rotate(tree, sibling, to: other)
        sibling = word(above, other)
      }
      setBlack(sibling, isBlack(above))
      setBlack(above, true)
      setBlack(word(sibling, other), true)
      rotate(tree, above, to: side)
      return
    }
    if node != 0 { setBlack(node, true) }
  }
}
