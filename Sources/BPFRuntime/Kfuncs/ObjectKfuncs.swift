import CBPFRuntime

/// Objects that programs allocate, and the lists and trees that they link them into.
enum ObjectKfuncs {
  static let table: [String: RuntimeFunction] = [
    "bpf_obj_new_impl": RuntimeFunction { _, descriptor, _, _, _, _ in
      ObjectHeap.allocate(descriptor, cpuCount: 1)
    },
    "bpf_percpu_obj_new_impl": RuntimeFunction { _, descriptor, _, _, _, run in
      ObjectHeap.allocate(descriptor, cpuCount: Worker.of(run).machine.cpuCount)
    },
    "bpf_obj_drop_impl": RuntimeFunction { object, _, _, _, _, run in drop(object, run) },
    "bpf_percpu_obj_drop_impl": RuntimeFunction { object, _, _, _, _, run in drop(object, run) },
    "bpf_refcount_acquire_impl": RuntimeFunction { object, _, _, _, _, _ in
      ObjectHeap.acquire(object) ? object : 0
    },

    "bpf_list_push_front_impl": RuntimeFunction { head, node, descriptor, _, _, run in
      if LinkedList.push(head, node, atEnd: false) { return 0 }
      return refuse(node, descriptor, run)
    },
    "bpf_list_push_back_impl": RuntimeFunction { head, node, descriptor, _, _, run in
      if LinkedList.push(head, node, atEnd: true) { return 0 }
      return refuse(node, descriptor, run)
    },
    "bpf_list_pop_front": RuntimeFunction { head, _, _, _, _, _ in LinkedList.pop(head, atEnd: false) },
    "bpf_list_pop_back": RuntimeFunction { head, _, _, _, _, _ in LinkedList.pop(head, atEnd: true) },
    "bpf_list_front": RuntimeFunction { head, _, _, _, _, _ in LinkedList.peek(head, atEnd: false) },
    "bpf_list_back": RuntimeFunction { head, _, _, _, _, _ in LinkedList.peek(head, atEnd: true) },

    "bpf_rbtree_add_impl": RuntimeFunction(
      { tree, node, less, descriptor, _, run in
        let isIn = RedBlackTree.insert(tree, node) { other in
          run.pointee.unwinding == 0 && run.pointee.invoke(run, less, node, other, 0, 0, 0) != 0
        }
        return isIn ? 0 : refuse(node, descriptor, run)
      }, callsBack: true),
    "bpf_rbtree_remove": RuntimeFunction { tree, node, _, _, _, _ in RedBlackTree.remove(tree, node) ? node : 0 },
    "bpf_rbtree_first": RuntimeFunction { tree, _, _, _, _, _ in RedBlackTree.first(tree) },
    "bpf_rbtree_root": RuntimeFunction { tree, _, _, _, _, _ in RedBlackTree.root(tree) },
    "bpf_rbtree_left": RuntimeFunction { tree, node, _, _, _, _ in
      RedBlackTree.owner(node) == tree ? RedBlackTree.left(node) : 0
    },
    "bpf_rbtree_right": RuntimeFunction { tree, node, _, _, _, _ in
      RedBlackTree.owner(node) == tree ? RedBlackTree.right(node) : 0
    },
  ]

  private static func drop(_ object: UInt64, _ run: Run) -> UInt64 {
    ObjectHeap.drop(object, Worker.of(run).machine.maps)
    return 0
  }

  /// The node is linked already: the program's reference ends here.
  private static func refuse(_ node: UInt64, _ descriptor: UInt64, _ run: Run) -> UInt64 {
    let offset = memory(descriptor).assumingMemoryBound(to: ObjectDescriptor.self).pointee.nodeOffset
    _ = drop(node &- offset, run)
    return intResult(Failure.EINVAL)
  }
}
