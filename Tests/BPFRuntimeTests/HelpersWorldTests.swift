import BPFISA
import BPFLinux
import BPFMaps
import BPFVerifier
import CBPFRuntime
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

@testable import BPFRuntime

/// Maps, buffers, callbacks, time and tasks, as programs get them.
@Suite(.serialized) struct HelpersWorldTests {
  @Test func elements() throws {
    let it = HelperFixture(cpuCount: 2)
    let map = try it.map(.percpuHash, key: 4, value: 8, entries: 4)
    let key = it.words([7])
    #expect(try it.helper(.mapLookupElem, it.address(map), key) == 0)
    #expect(try it.helper(.mapUpdateElem, it.address(map), key, it.words([42]), 0) == 0)
    #expect(try it.helper(.mapUpdateElem, it.address(map), key, it.words([42]), 1) == failure(.EEXIST))
    let own = try it.helper(.mapLookupElem, it.address(map), key)
    #expect(try it.helper(.mapLookupPercpuElem, it.address(map), key, 0) == own)
    #expect(it.word(own) == 42)
    let other = try it.helper(.mapLookupPercpuElem, it.address(map), key, 1)
    #expect(other != own && it.word(other) == 0)
    #expect(try it.helper(.mapLookupPercpuElem, it.address(map), key, 2) == 0)
    #expect(try it.helper(.mapDeleteElem, it.address(map), key) == 0)
    #expect(try it.helper(.mapDeleteElem, it.address(map), key) == failure(.ENOENT))
    let queue = try it.map(.queue, key: 0, value: 8, entries: 1)
    #expect(try it.helper(.mapPushElem, it.address(queue), it.words([5]), 0) == 0)
    #expect(try it.helper(.mapPushElem, it.address(queue), it.words([6]), 0) == failure(.E2BIG))
    let value = it.memory(8)
    #expect(try it.helper(.mapPeekElem, it.address(queue), value) == 0 && it.word(value) == 5)
    #expect(try it.helper(.mapPopElem, it.address(queue), value) == 0 && it.word(value) == 5)
    #expect(try it.helper(.mapPopElem, it.address(queue), value) == failure(.ENOENT))
  }

  @Test func callbacks() throws {
    let it = HelperFixture()
    var seen: [[UInt64]] = []
    it.callBacks { function, arguments in
      seen.append([function] + arguments[..<2])
      return arguments[0] == 3 ? 1 : 0
    }
    #expect(try it.helper(.loop, 10, 9, 8, 0) == 4)
    #expect(seen == (0..<4).map { [9, $0, 8] })
    #expect(try it.helper(.loop, 2, 9, 8, 0) == 2)
    #expect(try it.helper(.loop, 10, 9, 8, 1) == failure(.EINVAL))
    #expect(try it.helper(.loop, (8 << 20) + 1, 9, 8, 0) == failure(.E2BIG))
    it.worker.stop()
    #expect(try it.helper(.loop, 8 << 20, 9, 8, 0) == 1)
    it.worker.resume()
    let array = try it.map(.array, key: 4, value: 8, entries: 3)
    it.callBacks { _, a in
      let index = it.at(a[1]).load(as: UInt32.self)
      it.at(a[2]).storeBytes(of: UInt64(index) + a[3], as: UInt64.self)
      return index == 1 ? 1 : 0
    }
    #expect(try it.helper(.forEachMapElem, it.address(array), 1, 100, 0) == 2)
    #expect(try it.helper(.forEachMapElem, it.address(array), 1, 100, 1) == failure(.EINVAL))
    let values = try (0..<3).map { it.word(try it.helper(.mapLookupElem, it.address(array), it.words([UInt64($0)]))) }
    #expect(values == [100, 101, 0])
  }

  @Test func ringBuffer() throws {
    let it = HelperFixture()
    let map = try it.map(.ringbuf, key: 0, value: 0, entries: 4096)
    let ring = it.address(map)
    #expect(try it.helper(.ringbufOutput, ring, it.words([1]), 8, 0) == 0)
    #expect(try it.helper(.ringbufOutput, ring, it.words([1]), 8, 4) == failure(.EINVAL))
    #expect(try it.helper(.ringbufReserve, ring, 8, 1) == 0)
    #expect(try it.helper(.ringbufReserve, ring, 8192, 0) == 0)
    let sample = try it.helper(.ringbufReserve, ring, 8, 0)
    it.at(sample).storeBytes(of: 2, as: UInt64.self)
    _ = try it.helper(.ringbufSubmit, sample, 0)
    _ = try it.helper(.ringbufDiscard, try it.helper(.ringbufReserve, ring, 8, 0), 0)
    let dynptr = it.memory(16)
    #expect(try it.helper(.ringbufReserveDynptr, ring, 8, 0, dynptr) == 0)
    #expect(try it.helper(.dynptrWrite, dynptr, 0, it.words([3]), 8, 0) == 0)
    _ = try it.helper(.ringbufSubmitDynptr, dynptr, 0)
    #expect(it.word(dynptr) == 0)
    #expect(try it.helper(.ringbufReserveDynptr, ring, 8, 1, dynptr) == failure(.EINVAL))
    #expect(try it.helper(.ringbufQuery, ring, 1) == 4096)
    #expect(try it.helper(.ringbufQuery, ring, 0) == 64)
    var records: [UInt64] = []
    (map as? RingBuffer)?.consume { records.append($0.load(as: UInt64.self)) }
    #expect(records == [1, 2, 3])
  }

  @Test func userRingBuffer() throws {
    let it = HelperFixture()
    let map = try #require(try it.map(.userRingbuf, key: 0, value: 0, entries: 4096) as? UserRingBuffer)
    for byte in 1...3 as ClosedRange<UInt8> { try map.produce([byte, 0, 0, 0]) }
    var seen: [UInt8] = []
    let buffer = it.memory(8)
    it.callBacks { _, a in
      _ = try? it.helper(.dynptrRead, buffer, 4, a[0], 0, 0)
      seen.append(it.read(buffer, 1)[0])
      return seen.count == 2 ? 1 : 0
    }
    #expect(try it.helper(.userRingbufDrain, it.address(map), 1, 0, 0) == 2)
    #expect(try it.helper(.userRingbufDrain, it.address(map), 1, 0, 0) == 1)
    #expect(try it.helper(.userRingbufDrain, it.address(map), 1, 0, 4) == failure(.EINVAL))
    #expect(seen == [1, 2, 3])
  }

  @Test func perfEvents() throws {
    let it = HelperFixture(cpuCount: 2)
    let map = try #require(try it.map(.perfEventArray, key: 4, value: 4, entries: 2) as? PerfEventArray)
    let array = it.address(map)
    let data = it.bytes([1, 2, 3, 4])
    func output(_ flags: UInt64) throws -> UInt64 {
      try it.helper(.perfEventOutput, 0, array, flags, data, 4)
    }
    #expect(try output(0xffff_ffff) == failure(.ENOENT))
    try map.openAll()
    #expect(try output(0xffff_ffff) == 0)
    #expect(try output(0) == 0)
    #expect(try output(1) == failure(.EOPNOTSUPP))
    #expect(try output(2) == failure(.E2BIG))
    #expect(try output(1 << 32) == failure(.EINVAL))
    var samples: [[UInt8]] = []
    map.drain(0) { samples.append($0) }
    #expect(samples.count == 2 && samples.allSatisfy { $0.starts(with: [1, 2, 3, 4]) })
  }

  @Test func surroundings() throws {
    let task = CurrentTask(pid: 11, tgid: 10, uid: 5, gid: 6, command: "a command that is long")
    let it = HelperFixture(surroundings: Surroundings(time: { _ in 2_000_000_000 }, task: { task }, seed: 1))
    #expect(try it.helper(.ktimeGetNs) == 2_000_000_000)
    #expect(try it.helper(.getCurrentPidTgid) == 10 << 32 | 11)
    #expect(try it.helper(.getCurrentUidGid) == 6 << 32 | 5)
    let buffer = it.memory(16)
    #expect(try it.helper(.getCurrentComm, buffer, 16) == 0)
    #expect(it.text(buffer, 16) == "a command that \0")
    #expect(try it.helper(.getSmpProcessorId) == 0)
    #expect(try it.helper(.getPrandomU32) != it.helper(.getPrandomU32))
    let first = try it.helper(.jiffies64)
    #expect(first > UInt64(UInt32.max) - 300 * 1000 && first < 1 << 33)
    #expect(try it.helper(.getCurrentTaskBtf) == it.helper(.getCurrentTaskBtf))
    #expect(try it.helper(.getNsCurrentPidTgid, 0, 0, buffer, 8) == failure(.EINVAL))
  }

  @Test func taskStorage() throws {
    let it = HelperFixture()
    let map = try it.map(.taskStorage, key: 4, value: 8, entries: 0, flags: .noPreallocation)
    let task = try it.helper(.getCurrentTaskBtf)
    #expect(try it.helper(.taskStorageGet, it.address(map), task, 0, 0) == 0)
    let value = try it.helper(.taskStorageGet, it.address(map), task, it.words([9]), 1)
    #expect(value != 0 && it.word(value) == 9)
    #expect(try it.helper(.taskStorageGet, it.address(map), task, 0, 0) == value)
    #expect(try it.helper(.taskStorageGet, it.address(map), 0, 0, 1) == 0)
    #expect(try it.helper(.taskStorageDelete, it.address(map), task) == 0)
    #expect(try it.helper(.taskStorageDelete, it.address(map), task) == failure(.ENOENT))
  }

  @Test func tracedCalls() throws {
    let it = HelperFixture()
    let call = TracedCall(type: .tracing, arguments: [3, 4], returnValue: 7)
    call.cookie = 99
    it.run.pointee.context = call.block
    it.run.pointee.environment = Unmanaged.passUnretained(call).toOpaque()
    let value = it.memory(8)
    #expect(try it.helper(.getFuncArgCnt, call.address) == 2)
    #expect(try it.helper(.getFuncArg, call.address, 1, value) == 0 && it.word(value) == 4)
    #expect(try it.helper(.getFuncArg, call.address, 2, value) == failure(.EINVAL))
    #expect(try it.helper(.getFuncRet, call.address, value) == 0 && it.word(value) == 7)
    #expect(try it.helper(.getAttachCookie, call.address) == 99)
    it.run.pointee.environment = nil
  }

  @Test func locks() throws {
    let it = HelperFixture()
    let lock = it.memory(8)
    let other = it.machine.makeWorker(cpu: 0)
    let take = try #require(RuntimeFunctions.kfunc("bpf_res_spin_lock", for: .xdp)).body
    #expect(try it.kfunc("bpf_res_spin_lock", lock) == 0)
    #expect(try it.kfunc("bpf_res_spin_lock", lock) == intFailure(.EDEADLK))
    #expect(take(lock, 0, 0, 0, 0, other.run) == intFailure(.ETIMEDOUT))
    #expect(try it.kfunc("bpf_res_spin_unlock", lock) == 0)
    #expect(take(lock, 0, 0, 0, 0, other.run) == 0)
  }

  @Test func timersWithoutProgram() throws {
    let it = HelperFixture()
    let fields = [
      SpecialField(kind: .timer, offset: 0, size: 16), SpecialField(kind: .workqueue, offset: 16, size: 16),
    ]
    let map = try it.map(.array, key: 4, value: 32, entries: 1, fields: fields)
    let timer = try it.helper(.mapLookupElem, it.address(map), it.words([0]))
    #expect(try it.helper(.timerStart, timer, 0, 0) == failure(.EINVAL))
    #expect(try it.helper(.timerCancel, timer) == failure(.EINVAL))
    #expect(try it.helper(.timerInit, timer, it.address(map), 2) == failure(.EINVAL))
    #expect(try it.helper(.timerInit, timer, it.address(map), 1) == 0)
    #expect(try it.helper(.timerInit, timer, it.address(map), 1) == failure(.EBUSY))
    #expect(try it.helper(.timerStart, timer, 0, 0) == failure(.EINVAL))
    #expect(try it.helper(.timerStart, timer, 0, 4) == failure(.EINVAL))
    #expect(try it.helper(.timerCancel, timer) == 0)
    #expect(try it.kfunc("bpf_wq_init", timer + 16, it.address(map), 0) == 0)
    #expect(try it.kfunc("bpf_wq_start", timer + 16, 0) == intFailure(.EINVAL))
    #expect(try it.kfunc("bpf_wq_start", timer + 16, 1) == intFailure(.EINVAL))
  }

  /// A program whose functions are those of the test: what is set for no run.
  private final class Fake: Executable {
    let entry: skep_entry = { _, _, _ in 0 }
    let invoke: skep_invoke = { _, function, a1, a2, a3, a4, a5 in
      CallBacks.shared.of(nil)?(function, [a1, a2, a3, a4, a5]) ?? 0
    }
  }

  @Test func timersAndWorkRun() throws {
    let it = HelperFixture()
    let program = Program(
      name: "empty", type: .socketFilter,
      instructions: [Instruction(opcode: 0xb7), Instruction(opcode: 0x95)])
    guard case .success(let verified) = Verifier.verify(program, on: it.machine.linux).result else {
      Issue.record("the empty program is refused")
      return
    }
    let linked = try LinkedProgram(verified, maps: [], on: it.machine)
    let loaded = try LoadedProgram(linked, engine: Engine(name: "test") { _ in Fake() })
    it.run.pointee.program = UnsafePointer(loaded.header)
    let fields = [
      SpecialField(kind: .timer, offset: 0, size: 16), SpecialField(kind: .workqueue, offset: 16, size: 16),
    ]
    let map = try it.map(.hash, key: 4, value: 40, entries: 4, fields: fields)
    let key = it.words([5])
    _ = try it.helper(.mapUpdateElem, it.address(map), key, it.memory(40), 0)
    let value = try it.helper(.mapLookupElem, it.address(map), key)
    CallBacks.shared.set(nil) { function, a in
      guard a[0] == it.address(map), it.at(a[1]).load(as: UInt32.self) == 5, a[2] == value else { return 0 }
      _ = skep_fetch_add_64(it.at(value + 32), function)
      return 0
    }
    #expect(try it.helper(.timerInit, value, it.address(map), 1) == 0)
    #expect(try it.helper(.timerSetCallback, value, 1) == 0)
    #expect(try it.helper(.timerStart, value, 1_000_000, 0) == 0)
    #expect(try it.kfunc("bpf_wq_init", value + 16, it.address(map), 0) == 0)
    #expect(try it.kfunc("bpf_wq_set_callback_impl", value + 16, 100, 0) == 0)
    #expect(try it.kfunc("bpf_wq_start", value + 16, 0) == 0)
    for _ in 0..<2000 where skep_load_acquire_64(it.at(value + 32)) != 101 { usleep(1000) }
    #expect(skep_load_acquire_64(it.at(value + 32)) == 101)
    // One that is far away is taken back, and one whose value goes does not run.
    #expect(try it.helper(.timerStart, value, 1_000_000_000_000, 0) == 0)
    #expect(try it.helper(.timerCancel, value) == 1)
    #expect(try it.helper(.timerStart, value, 1, 0) == failure(.EINVAL))
    #expect(try it.helper(.timerSetCallback, value, 1) == 0)
    #expect(try it.helper(.timerStart, value, 50_000_000, 0) == 0)
    #expect(try it.helper(.mapDeleteElem, it.address(map), key) == 0)
    it.run.pointee.program = nil
    it.machine.maps.end(it.run)
    it.machine.maps.synchronize()
    it.machine.maps.begin(it.run)
    withExtendedLifetime((map, loaded)) {}
  }

  @Test func systemCalls() throws {
    let it = HelperFixture()
    let attributes = it.memory(72)
    func set(_ offset: UInt64, _ value: UInt32) { it.at(attributes + offset).storeBytes(of: value, as: UInt32.self) }
    set(0, MapType.hash.rawValue)
    set(4, 4)
    set(8, 8)
    set(12, 1)
    let descriptor = try it.helper(.sysBpf, 0, attributes, 72)
    #expect(Int64(bitPattern: descriptor) > 0)
    let update = it.words([descriptor, it.words([1]), it.words([5]), 0])
    #expect(try it.helper(.sysBpf, 2, update, 32) == 0)
    #expect(try it.helper(.sysBpf, 3, update, 32) == 0)
    #expect(try it.helper(.sysBpf, 3, update, 32) == failure(.ENOENT))
    #expect(try it.helper(.sysBpf, 1, update, 32) == failure(.EINVAL))
    #expect(try it.helper(.sysClose, descriptor) == 0)
    #expect(try it.helper(.sysClose, descriptor) == failure(.EBADF))
    #expect(try it.helper(.sysBpf, 2, update, 32) == failure(.EBADF))
  }

  @Test func supportIsListed() {
    let helpers = RuntimeFunctions.supportedHelpers
    #expect(helpers.count == 211)
    #expect(helpers.first { $0.name == "bpf_tail_call" }?.isSupported == true)
    #expect(helpers.first { $0.name == "bpf_d_path" }?.reason != nil)
    #expect(RuntimeFunctions.supportedKfuncs.contains { $0.name == "bpf_strlen" && $0.isSupported })
    #expect(Set(RuntimeFunctions.supportedKfuncs.map(\.name)).count == RuntimeFunctions.supportedKfuncs.count)
  }
}
