import BPFISA
import BPFLinux
import BPFObject
import BTF
import Testing

@Suite struct ObjectFileTests {
  @Test func programsComeInObjectOrderWithWhatTheirSectionsSay() throws {
    let object = try ObjectFile(path: Fixture.counters)
    #expect(object.name == "counters")
    #expect(object.license == "GPL")
    #expect(object.programs.map(\.name) == ["count", "iterate", "unknown"])
    #expect(object.programs.map(\.sectionName) == ["xdp.frags", "tc/ingress", "nonsense"])
    #expect(object.programs.map(\.autoload) == [true, false, true])
    #expect(object.programs.map(\.type) == [.xdp, .schedCls, .unspec])
    #expect(object.programs.map(\.expectedAttachType) == [.xdp, .tcxIngress, .none])
  }

  @Test func mapsAreDeclaredOrImplied() throws {
    let object = try ObjectFile(path: Fixture.counters)
    let maps = Dictionary(uniqueKeysWithValues: object.maps.map { ($0.name, $0) })
    #expect(object.maps.prefix(4).map(\.name).sorted() == ["events", "first", "hits", "outer"])
    let hits = try #require(maps["hits"]?.definition)
    #expect(hits.type == .hash && hits.keySize == 4 && hits.valueSize == 8 && hits.maxEntries == 16)
    let outer = try #require(maps["outer"])
    #expect(outer.definition.inner.first?.type == .array)
    #expect(outer.slots.map(\.index) == [1] && outer.slots.map(\.name) == ["first"])
    let constants = try #require(maps["counters.rodata"]?.definition)
    #expect(constants.flags == [.readOnlyProgram, .mmapable] && constants.frozen)
    #expect(constants.initialValue == [7, 0, 0, 0])
    let statics = try #require(maps["counters.data"]?.definition)
    #expect(statics.flags == [], "only static variables: nothing for a skeleton to map")
    #expect(maps["counters.bss"]?.definition.valueSize == 8)
  }

  @Test func dataSectionsGetTheSizesThatTheFileKnows() throws {
    let object = try ObjectFile(path: Fixture.counters)
    let btf = try #require(object.btf)
    let section = try #require(btf.find(".rodata", kind: .dataSection))
    #expect(btf.type(section).size == 4)
  }

  @Test func hiddenFunctionsCountAsStatic() throws {
    let object = try ObjectFile(path: Fixture.counters)
    let btf = try #require(object.btf)
    let hidden = try #require(btf.find("hidden_sum", kind: .function))
    let global = try #require(btf.find("global_sum", kind: .function))
    #expect(btf.functionLinkage(hidden) == 0)
    #expect(btf.functionLinkage(global) == 1)
  }

  @Test(arguments: [
    ("kprobe/do_sys_open", ProgramType.kprobe, AttachType.none),
    ("kprobe.multi/x*", .kprobe, .traceKprobeMulti),
    ("kprobe.session", .kprobe, .traceKprobeSession),
    ("xdp/devmap", .xdp, .xdpDevmap),
    ("cgroup/connect_unix", .cgroupSockAddr, .cgroupUnixConnect),
    ("lsm_cgroup/socket_bind", .lsm, .lsmCgroup),
    ("netkit/peer", .schedCls, .netkitPeer),
    ("struct_ops.s/dequeue", .structOps, .none),
    ("iter.s/task", .tracing, .traceIter),
    ("sk_skb/stream_verdict", .skSkb, .skSkbStreamVerdict),
  ])
  func sectionNamesSayWhatAProgramIs(_ name: String, _ type: ProgramType, _ attach: AttachType) throws {
    let convention = try #require(SectionConvention.find(name))
    #expect(convention.type == type)
    #expect(convention.attachType == attach)
  }

  @Test(arguments: ["", "xdp/", "xdp.frag", "kprobes", "tcx", "socket/1", "fentry.s.x/a", ".text"])
  func otherSectionNamesSayNothing(_ name: String) {
    #expect(SectionConvention.find(name) == nil)
  }

  @Test func filesThatAreNoObjectsAreRefusedByName() throws {
    func error(_ bytes: [UInt8]) -> ObjectFileError? {
      do {
        _ = try ObjectFile(bytes: bytes, name: "test.o")
        return nil
      } catch {
        return error
      }
    }
    #expect(error([])?.errno == 4001)
    #expect(error([UInt8](repeating: 0x7f, count: 100))?.rule == "not an ELF file")
    var bytes = try Fixture.bytes(Fixture.counters)
    bytes[4] = 1
    #expect(error(bytes)?.rule == "not a 64-bit ELF file")
    bytes[4] = 2
    bytes[5] = 2
    bytes.swapAt(16, 17)
    bytes.swapAt(18, 19)
    #expect(error(bytes)?.errno == 4003)
    #expect(throws: ObjectFileError.self) { try ObjectFile(path: "/nonexistent.o") }
  }
}

@Suite struct LinkerTests {
  @Test func subprogramsFollowTheirCallersDepthFirst() throws {
    let linker = Linker(try ObjectFile(path: Fixture.counters), linux: try Fixture.linux())
    let program = try #require(linker.link(named: "count")).result.get()
    let btf = try #require(program.btf)
    #expect(program.functionInfo.map { btf.name($0.typeID) } == ["count", "global_sum", "leaf", "hidden_sum"])
    #expect(program.flags == .xdpHasFragments)
    #expect(program.expectedAttachType == .xdp)
    // Every call lands where some function starts.
    let starts = Set(program.functionInfo.map { Int($0.instructionOffset) })
    for (slot, instruction) in program.instructions.enumerated() where instruction.isSubprogramCall {
      #expect(starts.contains(slot + 1 + Int(instruction.immediate)))
    }
    #expect(program.lineInfo.map(\.instructionOffset) == program.lineInfo.map(\.instructionOffset).sorted())
  }

  @Test func mapsAreNumberedInOrderOfUse() throws {
    let linker = Linker(try ObjectFile(path: Fixture.counters), linux: try Fixture.linux())
    let program = try #require(linker.link(named: "count")).result.get()
    #expect(program.maps.first?.name == "hits")
    var seen: [Int32] = []
    for instruction in program.instructions
    where instruction.isLoadImmediate64
      && (instruction.src == Int(PseudoSource.mapFD) || instruction.src == Int(PseudoSource.mapValue))
    {
      if !seen.contains(instruction.immediate) { seen.append(instruction.immediate) }
    }
    #expect(seen == (0..<Int32(program.maps.count)).map { $0 })
  }

  @Test func addressesOfFunctionsPointToAppendedOnes() throws {
    let linker = Linker(try ObjectFile(path: Fixture.counters), linux: try Fixture.linux())
    let program = try #require(linker.link(named: "iterate")).result.get()
    let slot = try #require(program.instructions.firstIndex { $0.isSubprogramAddress })
    let start = slot + 1 + Int(program.instructions[slot].immediate)
    #expect(program.functionInfo.contains { Int($0.instructionOffset) == start })
  }

  @Test func sizelessMapsGetOneEntryUnlessToldOtherwise() throws {
    let object = try ObjectFile(path: Fixture.counters)
    let events = Linker(object, linux: try Fixture.linux()).maps.first { $0.name == "events" }
    #expect(events?.maxEntries == 4096)
    var options = LinkOptions()
    options.makesLoadable = false
    let strict = Linker(object, linux: try Fixture.linux(), options: options)
    guard case .failure(let error) = try #require(strict.link(named: "count")).result else {
      Issue.record("a ring buffer without a size was accepted")
      return
    }
    #expect(error.errno == 22)
  }

  @Test func unknownSectionsMakeAProgramUnloadable() throws {
    let linker = Linker(try ObjectFile(path: Fixture.counters), linux: try Fixture.linux())
    guard case .failure(let error) = try #require(linker.link(named: "unknown")).result else {
      Issue.record("a program without a type was linked")
      return
    }
    #expect(error.errno == 22)
    #expect(error.message == "prog 'unknown': missing BPF prog type, check ELF section name 'nonsense'")
  }

  @Test func fieldsMoveToWhereTheKernelHasThem() throws {
    let object = try ObjectFile(path: Fixture.kernel)
    for offset: UInt32 in [16, 24, 800] {
      let linker = Linker(object, linux: try Fixture.linux(startOffset: offset))
      let program = try #require(linker.link(named: "field")).result.get()
      #expect(program.instructions.contains { $0.instructionClass == Class.ldx && $0.offset == Int16(offset) })
    }
  }

  @Test func attachTargetsAreKernelTypes() throws {
    let linux = try Fixture.linux()
    let kernel = try #require(linux.btf)
    let linked = Linker(try ObjectFile(path: Fixture.kernel), linux: linux).link()
    let byName = Dictionary(uniqueKeysWithValues: linked.map { ($0.name, $0.result) })
    #expect(try byName["field"]?.get().attachBTFID == kernel.find("do_work", kind: .function))
    #expect(try byName["symbols"]?.get().attachBTFID == kernel.find("btf_trace_sched", kind: .typedef))
    let hook = try #require(try byName["hook"]?.get())
    #expect(hook.attachBTFID == kernel.find("bpf_lsm_file_open", kind: .function))
    #expect(hook.flags == .sleepable && hook.expectedAttachType == .lsmMac)
    #expect(throws: LinkError.self) { try byName["nowhere"]?.get() }
    #expect(throws: LinkError.self) { try byName["replacement"]?.get() }
  }

  @Test func externsTakeTheirValuesFromTheKernel() throws {
    let linux = try Fixture.linux()
    let kernel = try #require(linux.btf)
    var options = LinkOptions()
    options.patchLevel = 5
    let linker = Linker(try ObjectFile(path: Fixture.kernel), linux: linux, options: options)
    let program = try #require(linker.link(named: "symbols")).result.get()
    let configuration = try #require(program.maps.first { $0.name == "kernel.kconfig" })
    #expect(configuration.frozen)
    // Four bytes each for the version and CONFIG_HZ by name, then CONFIG_MISSING and CONFIG_NAME by size.
    #expect(configuration.initialValue == [250, 0, 0, 0, 5, 18, 6, 0, 0] + Array("abcdefg".utf8) + [0])
    let calls = program.instructions.filter { $0.isKfuncCall }
    #expect(calls.map { TypeID(bitPattern: $0.immediate) } == [try #require(kernel.find("present", kind: .function))])
    // A weak function that is missing becomes a call that no verifier accepts.
    #expect(program.instructions.contains { $0.isHelperCall && $0.immediate / 1000 == 2_002_000 })
    let variable = try #require(kernel.find("variable", kind: .variable))
    #expect(program.instructions.contains {
      $0.isLoadImmediate64 && $0.src == Int(PseudoSource.btfID) && TypeID(bitPattern: $0.immediate) == variable
    })
    let address = program.instructions.indices.contains { slot in
      let one = program.instructions[slot]
      return one.isLoadImmediate64 && one.src == 0 && UInt32(bitPattern: one.immediate) == 0x8100_0010
        && program.instructions[slot + 1].immediate == -1
    }
    #expect(address)
  }

  @Test(arguments: [
    ("CONFIG_HZ", "\"text\""), ("CONFIG_HZ", "99999999999"), ("CONFIG_HZ", "y"), ("CONFIG_HZ", "12x"),
    ("CONFIG_NAME", "7"), ("CONFIG_NAME", "\"open"), ("CONFIG_MISSING", "m"),
  ])
  func valuesOfTheWrongKindAreRefused(_ name: String, _ value: String) throws {
    var linux = try Fixture.linux()
    linux.config[name] = value
    let linked = Linker(try ObjectFile(path: Fixture.kernel), linux: linux).link(0)
    guard case .failure(let error) = linked.result else {
      Issue.record("\(name)=\(value) was accepted")
      return
    }
    #expect(error.errno == 22)
  }

  @Test func missingStrongExternsMakeEverythingUnloadable() throws {
    var linux = try Fixture.linux()
    linux.symbols = [:]
    for linked in Linker(try ObjectFile(path: Fixture.kernel), linux: linux).link() {
      guard case .failure(let error) = linked.result else {
        Issue.record("\(linked.name) was linked")
        continue
      }
      #expect(error.errno == 3)
    }
  }
}

@Suite struct HostileObjectTests {
  /// Whatever one byte says, the answer is an object or an error.
  @Test(arguments: [Fixture.counters, Fixture.kernel])
  func anyByteMayBeWrong(_ path: String) throws {
    let original = try Fixture.bytes(path)
    let linux = try Fixture.linux()
    var opened = 0
    for index in original.indices {
      var bytes = original
      bytes[index] ^= 0xff
      do throws(ObjectFileError) {
        let object = try ObjectFile(bytes: bytes, name: path)
        _ = Linker(object, linux: linux).link()
        opened += 1
      } catch {
        #expect(error.errno > 0)
      }
    }
    #expect(opened > 0)
  }

  @Test(arguments: [Fixture.counters, Fixture.kernel])
  func anObjectMayEndAnywhere(_ path: String) throws {
    let original = try Fixture.bytes(path)
    for count in stride(from: 0, to: original.count, by: 7) {
      _ = try? ObjectFile(bytes: Array(original.prefix(count)), name: path)
    }
  }
}
