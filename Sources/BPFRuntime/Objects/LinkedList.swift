import CBPFRuntime

/// The lists of programs: a ring of nodes through the head, all of it in memory that programs own.
///
///     bpf_list_head   | next | previous |             a head of zeros is empty
///     bpf_list_node   | next | previous | owner |     the head that a node is linked to
///
/// The program holds the head's lock.
enum LinkedList {
  @inline(__always)
  private static func next(_ node: UInt64) -> UInt64 { memory(node).load(as: UInt64.self) }
  @inline(__always)
  private static func previous(_ node: UInt64) -> UInt64 { memory(node).load(fromByteOffset: 8, as: UInt64.self) }
  @inline(__always)
  private static func setNext(_ node: UInt64, _ to: UInt64) { memory(node).storeBytes(of: to, as: UInt64.self) }
  @inline(__always)
  private static func setPrevious(_ node: UInt64, _ to: UInt64) {
    memory(node).storeBytes(of: to, toByteOffset: 8, as: UInt64.self)
  }

  private static let ownerOffset = 16
  /// What the owner of a node is while it is being linked.
  static let linking: UInt64 = 0xdead_0000_0000_0300

  /// False where the node is in a list already.
  static func push(_ head: UInt64, _ node: UInt64, atEnd: Bool) -> Bool {
    if next(head) == 0 { reset(head) }
    let owner = memory(node) + ownerOffset
    guard skep_compare_exchange_64(owner, 0, linking) == 0 else { return false }
    let before = atEnd ? previous(head) : head
    let after = next(before)
    setNext(node, after)
    setPrevious(node, before)
    setPrevious(after, node)
    setNext(before, node)
    skep_store_relaxed_64(owner, head)
    return true
  }

  /// The node that was taken out; 0 where the list is empty.
  static func pop(_ head: UInt64, atEnd: Bool) -> UInt64 {
    let node = peek(head, atEnd: atEnd)
    guard node != 0 else {
      if next(head) == 0 { reset(head) }
      return 0
    }
    let (before, after) = (previous(node), next(node))
    setNext(before, after)
    setPrevious(after, before)
    reset(node)
    skep_store_relaxed_64(memory(node) + ownerOffset, 0)
    return node
  }

  static func peek(_ head: UInt64, atEnd: Bool) -> UInt64 {
    guard next(head) != 0, next(head) != head else { return 0 }
    return atEnd ? previous(head) : next(head)
  }

  private static func reset(_ node: UInt64) {
    setNext(node, node)
    setPrevious(node, node)
  }

  /// Empties the list and gives each of its nodes.
  static func drain(_ head: UInt64, _ body: (UInt64) -> Void) {
    var node = next(head)
    setNext(head, 0)
    setPrevious(head, 0)
    while node != 0 && node != head {
      let following = next(node)
      reset(node)
      skep_store_relaxed_64(memory(node) + ownerOffset, 0)
      body(node)
      node = following
    }
  }
}
