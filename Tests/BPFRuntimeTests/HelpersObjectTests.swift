import BPFLinux
import BPFMaps
import CBPFRuntime
import Testing

@testable import BPFRuntime

/// Objects, lists, trees, dynptrs and iterators.
@Suite(.serialized) struct HelpersObjectTests {
  /// A list node at 0, a tree node at 24, a count at 56, a kptr at 64.
  static let fields = [
    SpecialField(kind: .listNode, offset: 0, size: 24),
    SpecialField(kind: .redBlackNode, offset: 24, size: 32),
    SpecialField(kind: .referenceCount, offset: 56, size: 4),
    SpecialField(kind: .referencedKptr, offset: 64, size: 8, isLocalType: true),
  ]

  private func descriptor(_ fields: [SpecialField] = fields, node: UInt64 = 0) -> UInt64 {
    ObjectDescriptors.intern(ObjectDescriptors.Shape(size: 80, nodeOffset: node, fields: fields))
  }

  @Test func descriptorsAreShared() {
    #expect(descriptor() == descriptor())
    #expect(descriptor() != descriptor(node: 24))
    #expect(RuntimeFunctions.descriptorRegister(forKfunc: "bpf_rbtree_add_impl") == 4)
    #expect(RuntimeFunctions.descriptorRegister(forKfunc: "bpf_strlen") == 0)
  }

  @Test func objectsAreCounted() throws {
    let it = HelperFixture()
    let type = descriptor()
    let object = try it.kfunc("bpf_obj_new_impl", 80, type)
    #expect(object != 0 && it.at(object + 56).load(as: UInt32.self) == 1)
    let other = try it.kfunc("bpf_obj_new_impl", 80, type)
    #expect(try it.helper(.kptrXchg, object + 64, other) == 0)
    #expect(try it.kfunc("bpf_refcount_acquire_impl", object, type) == object)
    _ = try it.kfunc("bpf_refcount_acquire_impl", other, type)
    _ = try it.kfunc("bpf_obj_drop_impl", object, type)
    #expect(it.at(object + 56).load(as: UInt32.self) == 1)
    // With the first ends what it holds.
    _ = try it.kfunc("bpf_obj_drop_impl", object, type)
    #expect(it.at(other + 56).load(as: UInt32.self) == 1)
    _ = try it.kfunc("bpf_obj_drop_impl", other, type)
    let large = ObjectDescriptors.intern(ObjectDescriptors.Shape(size: 4089))
    #expect(try it.kfunc("bpf_obj_new_impl", 4089, large) == 0)
  }

  @Test func perCPUObjects() throws {
    let it = HelperFixture(cpuCount: 3)
    let type = ObjectDescriptors.intern(ObjectDescriptors.Shape(size: 24, isPerCPU: true))
    let object = try it.kfunc("bpf_percpu_obj_new_impl", 24, type)
    let places = try (0..<3).map { try it.helper(.perCpuPtr, object, UInt64($0)) }
    #expect(Set(places).count == 3)
    #expect(try it.helper(.thisCpuPtr, object) == places[0])
    #expect(try it.helper(.perCpuPtr, object, 3) == 0)
    for place in places { it.at(place + 16).storeBytes(of: 1, as: UInt64.self) }
    _ = try it.kfunc("bpf_percpu_obj_drop_impl", object, 0)
  }

  @Test func lists() throws {
    let it = HelperFixture()
    let type = descriptor()
    let head = it.memory(16)
    #expect(try it.kfunc("bpf_list_pop_front", head) == 0)
    let nodes = try (0..<3).map { _ in try it.kfunc("bpf_obj_new_impl", 80, type) }
    #expect(try it.kfunc("bpf_list_push_back_impl", head, nodes[0], type, 0) == 0)
    #expect(try it.kfunc("bpf_list_push_back_impl", head, nodes[1], type, 0) == 0)
    #expect(try it.kfunc("bpf_list_push_front_impl", head, nodes[2], type, 0) == 0)
    #expect(try it.kfunc("bpf_list_front", head) == nodes[2])
    #expect(try it.kfunc("bpf_list_back", head) == nodes[1])
    _ = try it.kfunc("bpf_refcount_acquire_impl", nodes[0], type)
    #expect(try it.kfunc("bpf_list_push_back_impl", head, nodes[0], type, 0) == intFailure(.EINVAL))
    #expect(it.at(nodes[0] + 56).load(as: UInt32.self) == 1)
    #expect(try it.kfunc("bpf_list_pop_back", head) == nodes[1])
    #expect(try it.kfunc("bpf_list_pop_front", head) == nodes[2])
    #expect(try it.kfunc("bpf_list_pop_front", head) == nodes[0])
    #expect(try it.kfunc("bpf_list_pop_front", head) == 0)
    for node in nodes { _ = try it.kfunc("bpf_obj_drop_impl", node, type) }
  }

  /// Black nodes on every path, no red child of a red node, order, and parents.
  private func check(_ it: HelperFixture, _ node: UInt64, parent: UInt64, _ seen: inout [UInt64]) -> Int {
    guard node != 0 else { return 1 }
    let word = it.word(node)
    #expect(word & ~3 == parent)
    if word & 1 == 0 && parent != 0 { #expect(it.word(parent) & 1 == 1, "red below red") }
    let left = check(it, it.word(node + 16), parent: node, &seen)
    seen.append(it.word(node + 40))
    let right = check(it, it.word(node + 8), parent: node, &seen)
    #expect(left == right, "black height")
    return left + Int(word & 1)
  }

  @Test func trees() throws {
    let it = HelperFixture()
    it.callBacks { _, a in it.word(a[0] + 40) < it.word(a[1] + 40) ? 1 : 0 }
    let type = ObjectDescriptors.intern(
      ObjectDescriptors.Shape(
        size: 48, fields: [
          SpecialField(kind: .redBlackNode, offset: 0, size: 32),
          SpecialField(kind: .referenceCount, offset: 32, size: 4),
        ]))
    let tree = it.memory(16)
    var generator = SystemRandomNumberGenerator()
    var inside: [(UInt64, UInt64)] = []
    func verify() {
      var seen: [UInt64] = []
      _ = check(it, it.word(tree), parent: 0, &seen)
      #expect(seen == seen.sorted() && seen.count == inside.count)
      let first = it.word(tree + 8)
      #expect(first == 0 ? seen.isEmpty : it.word(first + 40) == seen.first)
    }
    for round in 0..<600 {
      if inside.isEmpty || round < 200 || generator.next() & 1 == 0 {
        let node = try it.kfunc("bpf_obj_new_impl", 48, type)
        let value = generator.next() % 1000
        it.at(node + 40).storeBytes(of: value, as: UInt64.self)
        #expect(try it.kfunc("bpf_rbtree_add_impl", tree, node, 1, type, 0) == 0)
        inside.append((node, value))
      } else {
        let index = Int(generator.next() % UInt64(inside.count))
        let (node, _) = inside.remove(at: index)
        #expect(try it.kfunc("bpf_rbtree_remove", tree, node) == node)
        #expect(try it.kfunc("bpf_rbtree_remove", tree, node) == 0)
        _ = try it.kfunc("bpf_obj_drop_impl", node, type)
      }
      if round % 10 == 0 { verify() }
    }
    verify()
    let root = try it.kfunc("bpf_rbtree_root", tree)
    #expect(try it.kfunc("bpf_rbtree_left", tree, root) == it.word(root + 16))
    #expect(try it.kfunc("bpf_rbtree_left", tree + 8, root) == 0)
    _ = try it.kfunc("bpf_refcount_acquire_impl", root, type)
    #expect(try it.kfunc("bpf_rbtree_add_impl", tree, root, 1, type, 0) == intFailure(.EINVAL))
    while true {
      let first = try it.kfunc("bpf_rbtree_first", tree)
      guard first != 0 else { break }
      #expect(try it.kfunc("bpf_rbtree_remove", tree, first) == first)
      _ = try it.kfunc("bpf_obj_drop_impl", first, type)
    }
  }

  @Test func mapsReleaseWhatTheyHold() throws {
    let it = HelperFixture()
    let type = descriptor()
    let fields = [
      SpecialField(kind: .listHead, offset: 0, size: 16, nodeOffset: 0, isLocalType: true),
      SpecialField(kind: .redBlackRoot, offset: 16, size: 16, nodeOffset: 24, isLocalType: true),
      SpecialField(kind: .referencedKptr, offset: 32, size: 8, isLocalType: true),
    ]
    let map = try it.map(.hash, key: 4, value: 40, entries: 4, fields: fields)
    it.callBacks { _, _ in 0 }
    let key = it.words([1])
    #expect(try it.helper(.mapUpdateElem, it.address(map), key, it.memory(40), 0) == 0)
    let value = try it.helper(.mapLookupElem, it.address(map), key)
    let objects = try (0..<3).map { _ in try it.kfunc("bpf_obj_new_impl", 80, type) }
    // A second reference to each, to see the first one end.
    for object in objects { _ = try it.kfunc("bpf_refcount_acquire_impl", object, type) }
    #expect(try it.kfunc("bpf_list_push_back_impl", value, objects[0], type, 0) == 0)
    #expect(try it.kfunc("bpf_rbtree_add_impl", value + 16, objects[1] + 24, 1, descriptor(node: 24), 0) == 0)
    #expect(try it.helper(.kptrXchg, value + 32, objects[2]) == 0)
    #expect(try it.helper(.mapDeleteElem, it.address(map), key) == 0)
    it.machine.maps.end(it.run)
    it.machine.maps.synchronize()
    it.machine.maps.begin(it.run)
    _ = map
    for object in objects {
      #expect(it.at(object + 56).load(as: UInt32.self) == 1)
      _ = try it.kfunc("bpf_obj_drop_impl", object, type)
    }
  }

  @Test func dynptrs() throws {
    let it = HelperFixture()
    let data = it.bytes(Array("0123456789abcdef".utf8))
    let (one, two, buffer) = (it.memory(16), it.memory(16), it.memory(16))
    #expect(try it.helper(.dynptrFromMem, data, 16, 1, one) == failure(.EINVAL))
    #expect(try it.kfunc("bpf_dynptr_is_null", one) == 1)
    #expect(try it.kfunc("bpf_dynptr_size", one) == intFailure(.EINVAL))
    #expect(try it.helper(.dynptrFromMem, data, 1 << 24, 0, one) == failure(.E2BIG))
    #expect(try it.helper(.dynptrFromMem, data, 16, 0, one) == 0)
    #expect(try it.kfunc("bpf_dynptr_size", one) == 16)
    #expect(try it.helper(.dynptrRead, buffer, 4, one, 12, 0) == 0)
    #expect(it.text(buffer, 4) == "cdef")
    #expect(try it.helper(.dynptrRead, buffer, 4, one, 13, 0) == failure(.E2BIG))
    #expect(try it.helper(.dynptrRead, buffer, 4, one, 0, 1) == failure(.EINVAL))
    #expect(try it.helper(.dynptrWrite, one, 2, it.string("XY"), 2, 0) == 0)
    #expect(try it.kfunc("bpf_dynptr_adjust", one, 2, 10) == 0)
    #expect(try it.kfunc("bpf_dynptr_adjust", one, 2, 9) == intFailure(.ERANGE))
    #expect(try it.kfunc("bpf_dynptr_adjust", one, 3, 2) == intFailure(.EINVAL))
    #expect(try it.helper(.dynptrData, one, 0, 8) == data + 2)
    #expect(try it.helper(.dynptrData, one, 0, 9) == 0)
    #expect(try it.kfunc("bpf_dynptr_slice", one, 1, 0, 4) == data + 3)
    #expect(try it.kfunc("bpf_dynptr_clone", one, two) == 0)
    #expect(try it.kfunc("bpf_dynptr_memset", two, 6, 2, 0x2a) == 0)
    #expect(try it.kfunc("bpf_dynptr_memset", two, 6, 3, 0x2a) == intFailure(.E2BIG))
    #expect(it.text(data, 16) == "01XY4567**abcdef")
    #expect(try it.kfunc("bpf_dynptr_copy", one, 0, two, 4, 4) == 0)
    #expect(it.text(data, 16) == "0167**67**abcdef")
    #expect(try it.kfunc("bpf_probe_read_kernel_str_dynptr", one, 0, 8, it.string("hi")) == 3)
    #expect(it.text(data, 8) == "01hi\0*67")
  }

  @Test func numberIterator() throws {
    let it = HelperFixture()
    let iterator = it.memory(8)
    #expect(try it.kfunc("bpf_iter_num_new", iterator, 3, 1) == intFailure(.EINVAL))
    #expect(try it.kfunc("bpf_iter_num_next", iterator) == 0)
    let low = UInt64(UInt32(bitPattern: Int32.min))
    #expect(try it.kfunc("bpf_iter_num_new", iterator, low, UInt64(Int32.max)) == intFailure(.E2BIG))
    #expect(try it.kfunc("bpf_iter_num_new", iterator, UInt64(UInt32.max), 2) == 0)
    var seen: [Int32] = []
    while try it.kfunc("bpf_iter_num_next", iterator) != 0 { seen.append(it.at(iterator).load(as: Int32.self)) }
    #expect(seen == [-1, 0, 1])
    #expect(try it.kfunc("bpf_iter_num_new", iterator, 0, 100) == 0)
    it.worker.stop()
    #expect(try it.kfunc("bpf_iter_num_next", iterator) == 0)
    it.worker.resume()
  }

  @Test func bitIterator() throws {
    let it = HelperFixture()
    let iterator = it.memory(16)
    func bits(_ words: [UInt64]) throws -> [Int32] {
      #expect(try it.kfunc("bpf_iter_bits_new", iterator, it.words(words), UInt64(words.count)) == 0)
      var seen: [Int32] = []
      while true {
        let place = try it.kfunc("bpf_iter_bits_next", iterator)
        guard place != 0 else { break }
        seen.append(it.at(place).load(as: Int32.self))
      }
      _ = try it.kfunc("bpf_iter_bits_destroy", iterator)
      return seen
    }
    #expect(try bits([0b1001]) == [0, 3])
    #expect(try bits([1 << 63, 0, 5]) == [63, 128, 130])
    #expect(try bits([0]) == [])
    #expect(try it.kfunc("bpf_iter_bits_new", iterator, 0, 1) == intFailure(.EINVAL))
    #expect(try it.kfunc("bpf_iter_bits_new", iterator, iterator, 512) == intFailure(.E2BIG))
    #expect(try it.kfunc("bpf_iter_bits_new", iterator, UInt64.max - 7, 1) == intFailure(.EFAULT))
  }

  @Test func cpuMasks() throws {
    let it = HelperFixture(cpuCount: 70)
    let one = try it.kfunc("bpf_cpumask_create")
    let two = try it.kfunc("bpf_cpumask_create")
    #expect(try it.kfunc("bpf_cpumask_first", one) == 70)
    for cpu: UInt64 in [3, 65, 70] { _ = try it.kfunc("bpf_cpumask_set_cpu", cpu, one) }
    #expect(try it.kfunc("bpf_cpumask_weight", one) == 2)
    #expect(try it.kfunc("bpf_cpumask_test_and_set_cpu", 3, one) == 1)
    #expect(try it.kfunc("bpf_cpumask_test_and_clear_cpu", 3, one) == 1)
    #expect(try it.kfunc("bpf_cpumask_first", one) == 65)
    _ = try it.kfunc("bpf_cpumask_setall", two)
    #expect(try it.kfunc("bpf_cpumask_full", two) == 1)
    #expect(try it.kfunc("bpf_cpumask_subset", one, two) == 1)
    #expect(try it.kfunc("bpf_cpumask_and", two, two, one) == 1)
    #expect(try it.kfunc("bpf_cpumask_equal", one, two) == 1)
    #expect(try it.kfunc("bpf_cpumask_populate", two, it.memory(8), 8) == UInt64(UInt32(bitPattern: -13)))
    for mask in [one, two] { _ = try it.kfunc("bpf_cpumask_release", mask) }
  }
}
